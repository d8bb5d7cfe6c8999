"""The lab: the example network out of network namespaces, real hosts, a stock OpenVPN server. Needs root.

::

    host5 10.38.2.5 ──┐
                      ├── switch ── internal  GATEWAY  external ── 192.168.1.1  ROUTER  1.2.3.1 ──┐
    host6 10.38.2.6 ──┘    00:f0:0d:f0:0d:00           192.168.1.5                                │
                                                                                                  │
             203.0.113.10  FAR ── 203.0.113.1  SERVER (stock openvpn, 10.8.0.1 in the tunnel)  1.2.3.4

Each name above is a namespace; each line is a veth pair between two of them. No interface of the lab ever exists
outside its own namespaces, and no packet leaves them.

errors.py     what can go wrong, and which exit status that is
programs.py   the programs that the lab runs, and the Debian packages that hold them
topology.py   the network as data, and the commands that build it
state.py      what the lab made, on disk, so that it can be taken down by anybody at any time
pki.py        certificates and the tls-crypt key, fresh for each lab
tunnel.py     the two configuration files of the tunnel, and the gateway's command line
services.py   what runs on the far host, and the clients that use it
network.py    Lab: up, run something on a host, down
probes.py     ping, curl, traceroute, iperf3 as questions with values for answers
checks.py     what is looked at, one function a line of the table
matrix.py     every kind of tunnel, each brought up and used
resets.py     forged TCP resets
faults.py     what goes wrong under traffic, and keys that must not work
far_end.py    this project's far end in the stock server's place
dissection.py what tshark makes of the captures
whole.py      all of it, part by part
report.py     the table
signals.py    Ctrl-C, SIGTERM and the clock as an exception
namespaces.py sockets and settings in a namespace, without a program in it
echo.py       the echo services that a kernel does not bring along
kernel.py     what ``glassgate check --wire`` puts around the kernel as a gateway,
program.py    around our own program,
foreign.py    and around anybody's gateway
forkserver.py our own program started again and again
commands.py   glassgate lab run, matrix, faults, far-end, all, up, shell, status, down
"""
