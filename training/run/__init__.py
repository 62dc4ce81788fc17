"""A run's folder: recipe, tokenizer, checkpoint, record, and the model that they give."""
