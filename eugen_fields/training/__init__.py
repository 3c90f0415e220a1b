"""What our methods change in nerfstudio's training: start-up checks, ray budget, checkpoints, schedule, processes."""
