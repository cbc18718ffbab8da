"""How is a card shown? Cards in; text, Markdown, HTML and exports out. Nothing here measures, judges or writes files.

`outline` says what a report holds and in which order, `wording` how a number is said; each renderer only draws, and encodes
foreign text for its own sink: `terminal`, `markdown`, `html` (with `figures`), `export`, `notebook`; `comparison` shows two cards
or more.
"""
