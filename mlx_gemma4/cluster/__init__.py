"""One model over several computers: each holds some layers, and only one the conversation."""
