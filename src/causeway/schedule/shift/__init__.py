"""When and where work runs that may wait: spot with a deadline, cleaner hours, greener places.

A part of the schedule room, and as pure: arrays and values in, choices with reasons out. It is
drawn on by the twin, which measures it on real traces, and knows no trace itself.

    spot         what idle, spot and on-demand do to a job, and the net under every choice
    published    the policies of others for the same question
    clairvoyant  the least cost with the future known
    availability how spot comes and goes, learnt from what was seen
    thrift       our policy: the least expected cost under what was learnt
    windows      the cheapest hours of any window, exactly
    forecast     what the next hours will be like, from the hours before them
    when         the decision for one job, now or later, with its reasons and its exchange
    deferral     when a job that may wait runs, by our rule and by those of others
"""
