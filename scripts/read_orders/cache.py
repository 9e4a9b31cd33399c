"""What was read before is looked up: most values of a column come more than once."""

LIMIT = 200_000


class Cache(dict):
    """Keeps what a function made of texts, and forgets all when it is full."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def __missing__(self, text):
        if len(self) >= LIMIT:
            self.clear()
        value = self[text] = self.make(text)
        return value
