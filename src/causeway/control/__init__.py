"""The control plane's shell: observe, decide, act.

`Plane` is a deterministic, synchronous core: commands and time in, one store transaction out. It
decides nothing itself but asks the rooms. `Service` runs it in a thread of its own and gives the
doors an asynchronous face. The simulation runs `Plane` unchanged under a virtual clock.
"""
