"""How is a card shown? Cards in; text, Markdown, HTML and exports out. Nothing here measures, judges or writes files.

A report is a `document`: `outline` says what that of a card holds and in which order, `overview` that of several, `comparison`
that of their differences;
`wording` says a number. `terminal`, `markdown` and `html` (with `figures`) only draw documents, and encode foreign text for their
own sinks; `export` takes what it needs of a card.
"""
