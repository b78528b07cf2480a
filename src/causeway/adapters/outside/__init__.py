"""What engines have in common that run attempts outside the agent, and go on without it.

Slurm, Ray and Kubernetes differ in what they are asked, and in what they say. All else is here:

speaking    the two kinds of trouble with an engine
attempts    what is known of an attempt, whichever engine has it
keeping     what is on disk before the engine hears of an attempt
doomed      what the engine is to end, asked again until it shows that it did
showing     an attempt as the port shows it
asking      the thread that asks the engine, and how often
submitting  the folder first, the record second, the engine last
ledger      all attempts, and what each turn of time or news does to them
engine      the thread that owns them, behind the port

Under every attempt is a runner (`adapters/runner`), which knows best how its program ended.
"""
