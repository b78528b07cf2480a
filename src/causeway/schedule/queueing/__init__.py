"""Queues of many jobs on one pool of like devices: who is next, and who gives way.

    room        devices that are free: counted, or on nodes that gangs lie on
    levels      ranks by what a job has already had: least attained service, and the Gittins index
    lines       queues that start jobs and never stop one: first come, backfill, shortest, fair
    ranked      queues that may stop a running job for one of better rank

The round of the control plane (`schedule.round`) decides for any mixture of offers, laws and
prices. Here jobs differ in nothing but how many devices they ask for, whose they are and when they
came; that is enough for millions of them, and for the policies that the literature measures. A job
is a number: its row, and rows are in the order of arrival. Nothing here reads a clock or knows how
long a job will run, except where a policy is an oracle by its name.
"""
