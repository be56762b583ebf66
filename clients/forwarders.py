def run(table): return {}
