"""What makes field files small: how much each number matters, rounding that makes up for itself, and fine-tuning."""
