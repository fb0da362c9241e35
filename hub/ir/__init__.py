"""The intermediate representation: weights and what they mean, with no format in sight.

`part` lazy bytes; `values`, `groups` the meaning of quantized numbers; `scheme` that meaning
without data; `tensor`, `model` the whole; `tokenizer` the vocabulary.
"""
