"""The fast twin: queues of the room over columns of jobs, an event at a time.

    engine      the clock and its events: arrivals, ends, and instants at which a rank changes
    figures     what the columns come to, as the field defines it

The whole twin (`twin.run`) runs the control plane itself and is right about everything, at some
thousand jobs a minute. This one knows jobs only by their devices, lengths, owners and arrivals, and
takes millions.
"""
