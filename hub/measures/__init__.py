"""What a model says of a text: answers, perplexity, importance of its inputs; each as llama.cpp's tools tell it."""
