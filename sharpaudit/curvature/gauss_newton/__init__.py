"""What is known of the Gauss-Newton matrix beyond its products: rows, exact traces, the criteria that are made of it?"""
