{"msg":"send_hash"}
{"msg":"estimation","rank":0,"queue_size":1,"avg_event_process_time":0.016911005813803448,"avg_event_concurrent_process_time":0.004227751453450862,"rank_eta":0.016911005813803448,"queue_eta":0.0}
{"msg":"send_data"}
{"msg":"process_starts"}
{"msg":"process_completed","output":{"data":[],"is_generating":false,"duration":0.0004284381866455078,"average_duration":0.0006886720657348633},"success":true}
