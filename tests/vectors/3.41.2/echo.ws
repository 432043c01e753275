{"msg":"send_hash"}
{"msg":"estimation","rank":0,"queue_size":1,"avg_event_process_time":0.04041695424488612,"avg_event_concurrent_process_time":0.01010423856122153,"rank_eta":0.04041695424488612,"queue_eta":0.0}
{"msg":"send_data"}
{"msg":"process_starts"}
{"msg":"process_completed","output":{"data":["naïve ✓ 🎉\n\ttext \\ \"quoted\" end"],"is_generating":false,"duration":0.00035119056701660156,"average_duration":0.0047479763031005855},"success":true}
