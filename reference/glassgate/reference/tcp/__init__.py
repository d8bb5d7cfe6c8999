"""TCP: how does a stream of octets cross a network that loses, doubles and shuffles packets?

Below: IPv4 (``ipv4.py``), which carries a segment as its payload. Above: ``gateway.py``, which gives it the segments
for the gateway itself, and ``external.py``, whose tunnel flows through one connection.

Read in this order:

    sequence.py      numbers that wrap, and where a connection begins           RFC 9293 3.4, RFC 6528
    segment.py       the header and its options: parse, build                   RFC 9293 3.1
    states.py        the states, and the table of what leads where              RFC 9293 3.3.2
    reassembly.py    text that came before its turn                             RFC 9293 3.10.7.4
    receiving.py     the receive window                                         RFC 9293 3.8.6.2.2, RFC 7323
    timers.py        how long to wait                                           RFC 6298
    congestion.py    how much may be under way                                  RFC 5681, RFC 6582
    sending.py       the send window, retransmission, probes                    RFC 9293 3.8
    connection.py    the numbered checks that each segment runs through         RFC 9293 3.10, RFC 5961
    service.py       the table of connections, closed ports, SYN floods, echo   RFC 9293 3.10.7.1, 3.10.7.2

The way of a segment:

    octets ──segment.parse──► Segment ──TcpService.receive──► Connection.receive ──CHECKS, one by one──► Receiving.take
                                                                                                             │ text
    octets ◄──segment.build── Segment ◄──Connection.flush─── Sending.pieces ◄────── Connection.write ◄── the user reads
"""
