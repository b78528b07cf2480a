"""One fleet that serves and trains: how many devices go to which, minute by minute.

A part of the schedule room, and as pure: numbers in, a division with reasons out. It is drawn on by
the twin, which measures it on real traces, and knows no trace itself.

    queueing    how many replicas a load needs for its latency class, in closed form
    forecast    an upper bound of the need a few minutes ahead, learnt from its own past errors
    division    who gives way, who starts, and why
    published   what others do: fixed partitions, a clock, reacting to the load
"""
