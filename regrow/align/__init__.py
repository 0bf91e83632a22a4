"""Demonstrations, feedback, reward models and PPO."""
