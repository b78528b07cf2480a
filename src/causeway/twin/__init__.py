"""The twin: the same control plane and the same agents, in virtual time.

    loop        a virtual clock and an ordered list of what happens next
    network     messages that are lost, delayed, doubled and reordered
    centre      control planes on one shelf: killed, usurped, with a store that fails
    island      an agent's core with a simulated engine and a disk that survives a kill
    workload    what people submit
    faults      what goes wrong, and when
    invariants  what must hold after every step, whatever goes wrong
    run         one seed from beginning to end
    simulate    many seeds, on all cores: `make simulate`

Nothing here imitates a decision: `control.Plane`, `agent.AgentCore` and the rooms are the real
ones. What is simulated is what they stand on: time, network, disk, processes.
"""
