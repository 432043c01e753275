{"msg":"send_hash"}
{"msg":"estimation","rank":0,"queue_size":1,"avg_event_process_time":0.04209494590759277,"avg_event_concurrent_process_time":0.010523736476898193,"rank_eta":0.04209494590759277,"queue_eta":0.0}
{"msg":"send_data"}
{"msg":"process_starts"}
{"msg":"log","log":"info x","level":"info"}
{"msg":"log","log":"warning x","level":"warning"}
{"msg":"process_completed","output":{"data":["x"],"is_generating":false,"duration":0.1010737419128418,"average_duration":0.10081005096435547},"success":true}
