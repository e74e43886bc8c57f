"""Learning that both recommenders share: attention, sampling, losses and training's steps."""
