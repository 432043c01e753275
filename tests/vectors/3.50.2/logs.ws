{"msg":"send_hash"}
{"msg":"estimation","rank":0,"queue_size":1,"avg_event_process_time":0.01928085547227126,"avg_event_concurrent_process_time":0.004820213868067815,"rank_eta":0.01928085547227126,"queue_eta":0.0}
{"msg":"send_data"}
{"msg":"process_starts"}
{"msg":"log","log":"info x","level":"info"}
{"msg":"log","log":"warning x","level":"warning"}
{"msg":"process_completed","output":{"data":["x"],"is_generating":false,"duration":0.10080671310424805,"average_duration":0.10184065500895183},"success":true}
