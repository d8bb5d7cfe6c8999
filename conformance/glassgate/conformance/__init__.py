"""The conformance suite: packet-level vectors, and a runner that judges any gateway by them.

    authoring/ ─ filling.py → vectors/*.json ─ model.py → runner.py → report.py
                                                              │
                              subjects/ (in process, standard input and output)
                                                              │
                                              matching.py, far_end.py: the verdict

Nothing here knows an implementation: gateways are found by the entry-point group ``glassgate.gateways``.
"""
