"""Training that may change its size while it runs: how fast it would be, and who gets how much.

    curve      seconds of a step by placement and batch: seven numbers, and how they are learnt
    goodput    progress per second = speed x statistical efficiency; the batch that is best
    asking     what a policy is told of a job, and what it answers
    allot      the best division of devices over jobs, exactly, for any value of a job's share
    pack       a division made into nodes, moving as few jobs as it can
    tiresias, optimus, pollux    what others published, to be measured against
    causeway   ours

Everything is a function of its arguments. Times are in seconds, work in steps of the first batch
size (`progress`), speed in progress per second (`goodput`).
"""
