"""What a network will take on a device: measured once per layer, predicted for any network.

`plan` chooses the networks to measure, `predict` solves for the cost of every layer and
calibrates the interval, `table` keeps the result, `memory` computes sizes, `costs` offers
all of it to the search. Nothing here touches a device or imports torch.
"""
