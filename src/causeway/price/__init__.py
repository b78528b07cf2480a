"""The price room: what work will cost, what it costs so far, and who gets what share.

Prices are exact decimals, quantities are integers, amounts are integer micro-units; nothing here
ever holds a float but the estimates of a quote. Three rules keep the books right by construction:

1. *Rate the running total, post the difference* (`rate`): rounding can never drift.
2. *Split the running total, post the difference* (`journal`): no party gains from small postings.
3. *Every transaction sums to zero per currency* and carries the evidence to compute it again.

    quote    before the start: a range of cost, energy and carbon
    rate     usage and a price version -> an amount
    shares   the contract: who has which part of the revenue
    journal  an attempt's new usage -> one balanced transaction; checking and re-computing them
    term     how much of a rental's term is left
    bill     transactions and attempts -> the lines that pages and the CLI print
"""

from causeway.price.bill import Bill, BillLine, bill, cost_so_far, costs_so_far
from causeway.price.journal import check, recompute, settle
from causeway.price.quote import Quote, quote
from causeway.price.rate import charge_between_micros, charge_micros
from causeway.price.shares import CONTRACT, default_shares, split
from causeway.price.term import term_left_ms

__all__ = [
    "CONTRACT",
    "Bill",
    "BillLine",
    "Quote",
    "bill",
    "charge_between_micros",
    "charge_micros",
    "check",
    "cost_so_far",
    "costs_so_far",
    "default_shares",
    "quote",
    "recompute",
    "settle",
    "split",
    "term_left_ms",
]
