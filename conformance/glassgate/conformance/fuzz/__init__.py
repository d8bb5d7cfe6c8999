"""Differential fuzzing: stories of events on which two gateways part.

    stories.py    a story is a configuration and a list of operations in the form of vector steps
    grammar.py    makes stories: flows with named faults, later packets depending on earlier ones
    mutation.py   makes stories out of vectors and of other stories
    player.py     plays a story on one gateway and keeps what came out, in comparable form
    oracles.py    what must hold: no exception, invariants, equal effects
    corpus.py     the fewest stories that reach what all have reached; corpus.json is the one that is shipped
    shrinking.py  makes a finding small: operations, then octets, then times
    campaign.py   the loop: time, seeds, what guides it, what it found
    command.py    ``glassgate fuzz``

Agreement is not evidence that both are right, and a disagreement is not settled by vote: a finding is a draft vector
without expectation, for a person who has the standard beside them.
"""
