"""Which plain network is this? Layers one after the other, described in a line of text, or inferred from shapes and images.

- `description`: the text, parsed and never run
- `chain`: which tensors are which layers, in which order
- `geometry`: paddings, strides and poolings that fit the sizes
- `styles`: activations, kinds of pooling and orders; geometry and style make a description
- `suggestions`: the plainest descriptions that fit; this and all above need no torch
- `build`: a description and tensors become a network
- `running`: whether BatchNorm sees what it saw in training
- `stationarity`: whether the weights are where training of a network would leave them
- `trial`: how well networks do on labelled images
- `normalisations`: what may have been done to the pixels
- `neighbours`: which networks are next to one, and how usual it is
- `verdict`: whether one of several is clearly ahead, by answers, loss, running statistics and stationarity
- `search`: which networks are tried, the best of all in the end
- `inference`: the description that was given, or the network that was found, ready to be filled
"""
