"""What a model needs of memory, and how much this computer has."""
