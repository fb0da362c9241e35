"""Whether a file holds the model that it was made from: weights, answers, and the mistakes behind what differs.

checks      the checks after a conversion, and of files that anybody converted: start here
verifier    weights of a plan against those written
alignment   two models under one set of names
judgement   limits and faults of aligned models; diagnosis/ names the mistakes
running     both sides run on the same tokens; sample, divergence, limits, sensitivity
difference  how two models differ, without judging
"""
