"""What a packet costs, gateways side by side. Only ratios count: every figure is taken in turns with those beside it.

figures.py   samples taken in turns, their medians and quartiles, and ratios between them
traffic.py   configurations, and packets of every kind that is measured
doors.py     one way to drive a gateway for each of its interfaces: packet by packet, or in batches
core.py      the cost of a packet in this process, beside the bare cipher's
scale.py     the cost of a packet against what the gateway remembers
memory.py    what a gateway holds after a thousand packets, and after ten million
lab.py       the same offered traffic through stock openvpn and the gateways, in network namespaces
samples.py   who is measured there, with which traffic, and what a turn found
laboratory.py  one lab: how it is loaded, and how its costs are read
isolation.py a processor for the gateway, the others for its testers
sender.py    the program that offers traffic inside; watcher.py sees a burst arrive there
far.py       the far end as a fast sink and source
report.py    what was found as tables and as JSON; read.py reads that again, sheets.py shows tables
aims.py      what is to be reached, and whether it is
plot.py      pictures (SVG)
pages.py     tables and pictures for docs/benchmarks.md
command.py   glassgate bench core, scale, lab, tables
"""
