"""The training loop: precision, optimizers, schedules, spikes, checkpoints."""
