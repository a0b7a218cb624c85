VALUE = "as submitted"
