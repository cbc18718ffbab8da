"""Shared by all tests."""

import torch

torch.set_num_threads(1)  # the networks here are small: on a busy machine waiting threads cost more than they bring
