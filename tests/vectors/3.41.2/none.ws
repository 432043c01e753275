{"msg":"send_hash"}
{"msg":"estimation","rank":0,"queue_size":1,"avg_event_process_time":0.03991600325409795,"avg_event_concurrent_process_time":0.009979000813524487,"rank_eta":0.03991600325409795,"queue_eta":0.0}
{"msg":"send_data"}
{"msg":"process_starts"}
{"msg":"process_completed","output":{"data":[],"is_generating":false,"duration":0.00015211105346679688,"average_duration":0.0013120969136555989},"success":true}
