{"msg":"send_hash"}
{"msg":"estimation","rank":0,"queue_size":1,"avg_event_process_time":0.04251465320587158,"avg_event_concurrent_process_time":0.010628663301467896,"rank_eta":0.04251465320587158,"queue_eta":0.0}
{"msg":"send_data"}
{"msg":"process_starts"}
{"msg":"process_completed","output":{"data":["a",null],"is_generating":false,"duration":0.00017762184143066406,"average_duration":0.00030217170715332033},"success":true}
