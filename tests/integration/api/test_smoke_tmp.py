async def test_life(api):
    await api.refresh_grid()
    c, p = await api.developer(), await api.provider()
    print(await api.run_to_receipt(c, p)); print(await api.row_counts())
async def test_probe(api):
    from tests.integration.api.support import WORKLOAD, post
    c = await api.developer()
    async def show(label, coro):
        a = await coro
        print(label, a.status_code, a.headers.get("content-type"), a.text[:300])
    W=WORKLOAD
    for name, ch in {"nan str": {"expected_hours": "nan"}, "inf": {"expected_hours":"inf"}, "gpus str": {"gpus":"2"}, "neg": {"gpus":-1}, "name0": {"name":"a\0b"}, "image0": {"command":None,"image":"a\0"}, "budget miss": {"budget": {"amount":"1"}}, "unk": {"nope":1}, "unk2": {"budget":{"amount":"1","currency":"EUR","x":1}}, "huge": {"gpus": 10**30}, "envbad": {"environment":{"a.b/c":"1"}}, "env2": {"environment":{"a.b":1}}, "far": {"deadline_at":"9999-12-31T23:59:59-12:00"}, "naive": {"deadline_at":"2027-01-01T00:00:00"}, "unix": {"deadline_at": 1e18}, "zone": {"zones": ["a"]}, "zoneint": {"zones":[1]}, "command": {"command": ["a", 1]}, "load": {"load":"nan"}, "bool": {"green_only": "yes"}, "null": {"name": None}, "maxi": {"max_intensity_g_per_kwh":"nan"}}.items():
        await show(name, post(c.http, "/api/v1/workloads", W | ch))
        if name in ("far",): await show(name+" plan", c.http.post("/api/v1/plans", json=W|ch))
    for label, body, h in [("malformed", b"{", {}), ("empty", b"", {}), ("nonutf8", b'{"name":"\xff"}', {}), ("nan", b'{"expected_hours": NaN}', {}), ("1e999", b'{"expected_hours": 1e999}', {}), ("deep", b"["*100000+b"]"*100000, {}), ("list", b"[]", {}), ("nullb", b"null", {}), ("surr", b'{"name":"\\ud800"}', {}), ("big", b"x"*10_000_000, {}), ("nul", b'{"name":"\x00"}',{}), ("hugeint", b'{"gpus":' + b"9"*5000+b"}", {}), ("dup", b'{"name":"a","name":"b"}',{}), ("bom", b"\xef\xbb\xbf{}",{}), ]:
        await show(label, c.http.post("/api/v1/workloads", content=body, headers={"content-type":"application/json","idempotency-key":"k"}|h))
    await show("ct", c.http.post("/api/v1/workloads", content=b"{}", headers={"content-type":"text/plain"}))
    await show("noct", c.http.post("/api/v1/workloads", content=b"{}"))
    await show("nokey", c.http.post("/api/v1/workloads", json=W))
    for p in ["/nope", "/api/v1/nope", "/api/v1/workloads/xyz", "/api/v1/workloads?limit=0", "/api/v1/workloads?limit=201","/api/v1/workloads?limit=-1", "/api/v1/workloads?limit=abc", "/api/v1/workloads?cursor=zzz", "/api/v1/workloads?cursor=%ff%00", "/api/v1/workloads?cursor=", "/api/v1/workloads?state=bad", "/api/v1/grid/signals?zone=%00&kind=price", "/api/v1/ledger/entries?cursor="+"_"*22, "/api/v1/offers?gpu_model=%00", "/api/v1/offers?gpus=99", "/api/v1/offers?zone=%00", "/docs", "/docs/nothing", "/docs/x.json", "/docs/assets/nope.js", "/docs/assets/../../etc", "/api/v1/workloads/00000000-0000-0000-0000-000000000000", "/api/v1/workloads/00000000-0000-0000-0000-000000000000/logs?after="+"9"*5000, "/api/v1/grid/signals?kind=price","/api/v1/workloads?limit=1&limit=2", "/api/v1/charges?workload_id=zz", "//", "/%00", "/api/v1/workloads/"]:
        await show(p[:60], c.http.get(p))
    for m in ["PUT","DELETE","PATCH","OPTIONS","HEAD", "TRACE", "FOO"]:
        await show(m, c.http.request(m, "/api/v1/workloads"))
    await show("HEAD no", c.http.request("HEAD", "/nope"))
    for auth in ["Basic x", "Bearer", "Bearer x", "Bearer gridbroker_\x00_ABCDEFGH_"+"Z"*59, "Bearer "+"ü"*10]:
        await show(repr(auth[:20]), api.client().get("/api/v1/whoami", headers={"authorization": auth.encode("latin1")}))
    for k in ["", " ", "ü", "x"*256]:
        await show("key "+k[:4], c.http.post("/api/v1/workloads", json=W, headers={"idempotency-key": k.encode("latin1")}))
    await show("cl", c.http.post("/api/v1/keys", content=b"{}", headers={"content-type":"application/json", "content-length":"abc"}))
    await show("org0", post(c.http, "/api/v1/keys", {"name":"a\0b","role":"developer"}))
    await show("plan0", c.http.post("/api/v1/plans", json=W|{"name":"a\ud800" if 0 else "x"}))
    await show("health", api.client().get("/health"))
    await show("ready", api.client().get("/ready"))
    await show("metrics", api.client().get("/metrics"))
