"""Runs a written model in other programs and compares what they answer with hub's own runner.

choosing  which programs were asked for, whether they are there
process   one of them, in a process with limits
child     what that process does
rounding  what rounded activations do to a model
titles    what they are called with their versions
judging   their logits beside hub's: start here
"""
