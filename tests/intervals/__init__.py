"""Does every interval on the card cover, and miss evenly?"""
