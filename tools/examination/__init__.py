"""Held-out items for the tiny model, made by other code than its training.

Pages are set line by line at twice their size and scaled down, rooms and noises are those of
`gemma4 eval speech`, wordings and sentences are lists of their own. What is printed on a receipt
comes from the part of the small world that training never saw (`words.held_out`).
"""
