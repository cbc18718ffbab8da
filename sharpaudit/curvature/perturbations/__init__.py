"""How does the loss change when the weights are moved: at random, uphill, along a line?"""
