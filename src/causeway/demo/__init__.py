"""The demonstration: three islands on this machine, a real training job, a killed island, a bill.

Everything runs for real, in processes of its own, through the doors that a stranger would use.
What is made up (prices, jurisdictions, grids) stands in the islands' profiles under `simulated`,
and is said so wherever it is shown.
"""
