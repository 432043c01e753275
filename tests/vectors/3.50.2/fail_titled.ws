{"msg":"send_hash"}
{"msg":"estimation","rank":0,"queue_size":1,"avg_event_process_time":0.019804214975636475,"avg_event_concurrent_process_time":0.004951053743909119,"rank_eta":0.019804214975636475,"queue_eta":0.0}
{"msg":"send_data"}
{"msg":"process_starts"}
{"msg":"process_completed","output":{"error":"Error.__init__() got an unexpected keyword argument 'duration'"},"success":false}
