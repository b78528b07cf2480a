"""The twin: what would happen, without its happening.

Two speeds. The *whole* twin is the same control plane and the same agents in virtual time:

    loop        a virtual clock and an ordered list of what happens next
    network     messages that are lost, delayed, doubled and reordered
    centre      control planes on one shelf: killed, usurped, with a store that fails
    island      an agent's core with a simulated engine and a disk that survives a kill
    workload    what people submit
    faults      what goes wrong, and when
    invariants  what must hold after every step, whatever goes wrong
    run         one seed from beginning to end
    simulate    many seeds, on all cores: `make simulate`
    whole       a trace from beginning to end, without faults

Nothing there imitates a decision: `control.Plane`, `agent.AgentCore` and the rooms are the real
ones. What is simulated is what they stand on: time, network, disk, processes. The *fast* twin
drives the rooms alone, over columns of jobs:

    traces      histories of jobs, from wherever they are kept
    fast        queues of millions of jobs
    kinds       the sorts of experiment that a scenario may name, one of them those queues

`causeway twin` runs scenarios of any kind and says what came of them:

    scenario    the file: kind, policies, seeds, options, what others have published
    outcome     what one policy on one seed came to, with an accounting that adds up
    sweep       every policy on every seed, in processes (or on Ray: `sweep_ray`)
    outlook     how much longer that will take
    campaign    several scenarios from files to folders of results
    results     such a folder; `parquet` writes its tables
    statistics  means, intervals, paired differences
    verdict     what runs come to and what two of them differ by, as rows for every door
    report      the same for people, one HTML file; `words` writes its figures
"""
