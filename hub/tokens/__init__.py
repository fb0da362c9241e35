"""Text to ids and back, by the tokenizer of the intermediate representation, and its form as a tokenizer.json."""
