"""Which plain network is this? Layers one after the other, described in a line of text, or inferred from shapes and images.

- `description`: the text, parsed and never run
- `chain`: which tensors are which layers, in which order
- `geometry`: paddings, strides and poolings that fit the sizes
- `styles`: activations, kinds of pooling and orders; geometry and style make a description
- `suggestions`: the plainest descriptions that fit; this and all above need no torch
- `build`: a description and tensors become a network
- `trial`: how well networks do on labelled images
- `search`: which of them is clearly best
- `inference`: the description that was given, or the network that was found, ready to be filled
"""
