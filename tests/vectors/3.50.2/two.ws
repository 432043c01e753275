{"msg":"send_hash"}
{"msg":"estimation","rank":0,"queue_size":1,"avg_event_process_time":0.017017321006671804,"avg_event_concurrent_process_time":0.004254330251667951,"rank_eta":0.017017321006671804,"queue_eta":0.0}
{"msg":"send_data"}
{"msg":"process_starts"}
{"msg":"process_completed","output":{"data":["ABC",3.0],"is_generating":false,"duration":0.0005316734313964844,"average_duration":0.0010871291160583496},"success":true}
