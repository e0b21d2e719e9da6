"""Models on the Hugging Face Hub: found, downloaded, and read without being kept."""
