async def test_x(database):
    pass
