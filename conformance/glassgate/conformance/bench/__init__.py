"""What a packet costs, gateways side by side. Only ratios count: every figure is taken in turns with those beside it.

figures.py   samples taken in turns, their medians and quartiles, and ratios between them
traffic.py   configurations, and packets of every kind that is measured
doors.py     one way to drive a gateway for each of its interfaces: packet by packet, or in batches
core.py      the cost of a packet in this process, beside the bare cipher's
scale.py     the cost of a packet against what the gateway remembers
memory.py    what a gateway holds after a thousand packets, and after ten million
lab.py       the same offered traffic through stock openvpn and the gateways, in network namespaces
sender.py    the program that offers it
report.py    tables and JSON
plot.py      pictures (SVG)
command.py   glassgate bench core, scale, lab
"""
