"""SSH hosts: bare machines that become islands, from the operator's own machine, without root.

    probe.sh    looks at a host, with a POSIX shell and nothing else
    findings    what the probe printed -> values                                        (pure)
    steps       findings + wishes -> a plan in sentences, or the one reason why not     (pure)
    trouble     what `ssh` said when it failed -> an error with the next command        (pure)
    line        one host, through the system's own `ssh`
    wheelhouse  the wheels that are carried to a host that reaches no package index
    far         what runs at the host while a connection stands; standard library only
    keeper      what stays there: starts the agent, and starts it again
    bootstrap   all of it, in order, for one host

The control plane knows nothing of SSH and never holds a key: from the moment at which the agent
runs, it calls out as every agent does. Nothing is imported here, since the keeper stays in memory.
"""
