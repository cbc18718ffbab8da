"""How does a module become a function of its parameters that can be differentiated, and may it be?"""
